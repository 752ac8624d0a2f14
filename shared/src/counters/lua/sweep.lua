-- Takes a hold from whoever does not hold it any more. Of a dead process it is kept as held by
-- the dead: it counts on, and is never free by itself. Of a call that was settled before the
-- store went back, it is let go, whether its process had it or the dead.
--
-- KEYS: the holds that it is among, the holds of the dead, living, then the budgets that it
-- holds something of, in the order of ARGV.
-- ARGV: `dead`, `settled`, or `buried` where it was settled and the dead have it; the epoch;
-- until when a sign of life was long ago; the hold's name and the hold as it was read; then for
-- each budget its window and what is held in money, requests and tokens.
-- Answers whether it was taken: not if the proxy lives after all, or the call was settled.
local why, epoch, name = ARGV[1], ARGV[2], ARGV[4]
local seen = redis.call('ZSCORE', KEYS[3], epoch)
if why == 'dead' and seen and tonumber(seen) > tonumber(ARGV[3]) then return 0 end
if redis.call('HGET', KEYS[1], name) ~= ARGV[5] then return 0 end
redis.call('HDEL', KEYS[1], name)
if why == 'dead' then
  redis.call('HSET', KEYS[2], epoch .. ' ' .. name, text(clock()) .. ';' .. ARGV[5])
end
for i = 4, #KEYS do
  local at = 4 * (i - 4) + 5
  local money, requests, tokens =
    tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  local budget = read_budget(KEYS[i])
  local window, prefix = window_of(budget, tonumber(ARGV[at + 1]))
  if window and why == 'dead' then
    add(KEYS[i], prefix, { 'hm', window.hm, money })
  elseif window then
    let_go(KEYS[i], prefix, window, money, requests, tokens)
    if why == 'buried' then
      add(KEYS[i], prefix, { 'hm', window.hm, -math.min(money, window.hm) })
    end
  end
end
return 1
