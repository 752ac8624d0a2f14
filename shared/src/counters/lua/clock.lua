-- Redis tells the time, in milliseconds since 1970. No other clock decides anything.
local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
