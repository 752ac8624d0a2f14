-- Holds again what a proxy holds for a call under way, as far as the store lost it. If the
-- proxy was taken for dead meanwhile, it is not: what the dead hold for the call is its own
-- again.
--
-- KEYS: incarnation, the proxy's holds, the holds of the dead, living, then the budgets.
-- ARGV: the epoch, the call; then for each budget its window, and what is held of it.
-- Answers the state.
local now = clock()
local state = incarnation(redis.call('GET', KEYS[1]), now)
if state == 'C' then return state end
local epoch, call = ARGV[1], ARGV[2]
local budgets, by_id = read_budgets(5)

local written = redis.call('HGET', KEYS[2], call)
if not written then
  local name = epoch .. ' ' .. call
  local buried = redis.call('HGET', KEYS[3], name)
  if buried then
    redis.call('HDEL', KEYS[3], name)
    written = string.sub(buried, 1 + SINCE)
    for place = 1, #written, HOLD_SIZE do
      local id, from, money = struct.unpack(HOLD, written, place)
      local window, at = nil, nil
      if by_id[id] then window, at = window_of(by_id[id], from) end
      if window then is_alive(window, at, money) end
    end
  end
end

-- What is written already is held already.
local had = {}
written = written or ''
for place = 1, #written, HOLD_SIZE do
  local id, from, money, requests, tokens = struct.unpack(HOLD, written, place)
  local name = id .. text(from)
  local it = had[name] or { 0, 0, 0 }
  had[name] = { it[1] + money, it[2] + requests, it[3] + tokens }
end
local pieces = { written }
for i, budget in ipairs(budgets) do
  local from, money, requests, tokens = struct.unpack(SAID, ARGV[2 + i])
  local it = had[string.sub(budget[KEY], -32) .. text(from)] or { 0, 0, 0 }
  money, requests, tokens =
    math.max(0, money - it[1]), math.max(0, requests - it[2]), math.max(0, tokens - it[3])
  if money > 0 or requests > 0 or tokens > 0 then
    pieces[#pieces + 1] = piece(budget, from, money, requests, tokens)
    local window, at = window_of(budget, from)
    if window then add_all(window, at + HELD, money, requests, tokens) end
  end
end
write_all(by_id)
redis.call('HSET', KEYS[2], call, table.concat(pieces))
redis.call('ZADD', KEYS[4], now, epoch)
return state
