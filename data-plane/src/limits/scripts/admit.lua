-- Lets a call through on every level, or charges none. What else a call is charged for is
-- checked and written here too, so that all of it passes or nothing does.
--
-- KEYS: for each level its bucket and its calls.
-- ARGV: the call's name, the life of its place in milliseconds; then for each level the
-- limits on requests, tokens and calls, and the tokens to charge.
-- Answers the level that refuses (0: none), what of it (1 requests, 2 tokens, 3 calls), in
-- how many milliseconds to come back, and the time; then for each level what is used.
local CALLS_WAIT = 1000

local now = clock()
local refused, what, longest = 0, 0, 0
local levels = {}

for i = 1, #KEYS / 2 do
  local at = 4 * i - 2
  local limits = {
    requests = tonumber(ARGV[at + 1]),
    tokens = tonumber(ARGV[at + 2]),
    calls = tonumber(ARGV[at + 3]),
  }
  local level = { bucket = KEYS[2 * i - 1], calls = KEYS[2 * i], limits = limits, under_way = 0 }
  level.has_bucket = limits.requests >= 0 or limits.tokens >= 0
  level.charge = tonumber(ARGV[at + 4])
  level.used = { requests = 0, tokens = 0 }
  local waits = { 0, 0, 0 }
  if level.has_bucket then
    level.used = read(level.bucket, now, limits)
    waits[1] = wait(level.used.requests, 1, limits.requests)
    waits[2] = wait(level.used.tokens, level.charge, limits.tokens)
  end
  if limits.calls >= 0 then
    redis.call('ZREMRANGEBYSCORE', level.calls, '-inf', now)
    level.under_way = redis.call('ZCARD', level.calls)
    if level.under_way >= limits.calls then waits[3] = CALLS_WAIT end
  end
  for kind, milliseconds in ipairs(waits) do
    if milliseconds > longest then refused, what, longest = i, kind, milliseconds end
  end
  levels[i] = level
end

if refused == 0 then
  for _, level in ipairs(levels) do
    local limits, used = level.limits, level.used
    if limits.requests >= 0 then used.requests = used.requests + MINUTE end
    if limits.tokens >= 0 then used.tokens = used.tokens + level.charge * MINUTE end
    if level.has_bucket then write(level.bucket, now, limits, used) end
    if limits.calls >= 0 then
      redis.call('ZADD', level.calls, now + tonumber(ARGV[2]), ARGV[1])
      redis.call('PEXPIRE', level.calls, ARGV[2])
      level.under_way = level.under_way + 1
    end
  end
end

local answer = { refused, what, longest, now }
for _, level in ipairs(levels) do
  answer[#answer + 1] = level.used.requests
  answer[#answer + 1] = level.used.tokens
  answer[#answer + 1] = level.under_way
end
return answer
