-- Takes a hold from whoever does not hold it any more. Of a dead process it is kept as held by
-- the dead: it counts on, and is never free by itself. Of a call that was settled before the
-- store went back, it is let go, whether its process had it or the dead.
--
-- KEYS: the holds that it is among, the holds of the dead, living, then the budgets that it
-- holds something of, in the order of its pieces.
-- ARGV: `dead`, `settled`, or `buried` where it was settled and the dead have it; the epoch;
-- until when a sign of life was long ago; the hold's name and the hold as it was read.
-- Answers whether it was taken: not if the proxy lives after all, or the call was settled.
local why, epoch, name, written = ARGV[1], ARGV[2], ARGV[4], ARGV[5]
local seen = redis.call('ZSCORE', KEYS[3], epoch)
if why == 'dead' and seen and tonumber(seen) > tonumber(ARGV[3]) then return 0 end
if redis.call('HGET', KEYS[1], name) ~= written then return 0 end
redis.call('HDEL', KEYS[1], name)
if why == 'dead' then
  redis.call('HSET', KEYS[2], epoch .. ' ' .. name, struct.pack('<i8', clock()) .. written)
end
local budgets, by_id = read_budgets(4)
local first = why == 'buried' and 1 + SINCE or 1
for i, budget in ipairs(budgets) do
  local _, from, money, requests, tokens =
    struct.unpack(HOLD, written, first + HOLD_SIZE * (i - 1))
  local window, at = window_of(budget, from)
  if window and why == 'dead' then
    add(window, at + DEAD, money)
  elseif window then
    let_go(window, at, money, requests, tokens)
    if why == 'buried' then is_alive(window, at, money) end
  end
end
write_all(by_id)
return 1
