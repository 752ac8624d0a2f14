-- Takes a hold from a proxy's process that does not hold it any more. Of a dead one it is kept
-- as held by the dead: it counts on, and is never free by itself. Of a call that was settled
-- before the store went back, it is let go.
--
-- KEYS: the proxy's holds, the holds of the dead, living, then the budgets that it holds
-- something of, in the order of ARGV.
-- ARGV: `dead` or `settled`, the epoch, until when a sign of life was long ago, the call and
-- its hold as it was read; then for each budget its window and what is held in money,
-- requests and tokens.
-- Answers whether it was taken: not if the proxy lives after all, or the call was settled.
local seen = redis.call('ZSCORE', KEYS[3], ARGV[2])
if ARGV[1] == 'dead' and seen and tonumber(seen) > tonumber(ARGV[3]) then return 0 end
if redis.call('HGET', KEYS[1], ARGV[4]) ~= ARGV[5] then return 0 end
redis.call('HDEL', KEYS[1], ARGV[4])
if ARGV[1] == 'dead' then
  redis.call('HSET', KEYS[2], ARGV[2] .. ' ' .. ARGV[4], text(clock()) .. ';' .. ARGV[5])
end
for i = 4, #KEYS do
  local at = 4 * (i - 4) + 5
  local money, requests, tokens =
    tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  local budget = read_budget(KEYS[i])
  local window, prefix = window_of(budget, tonumber(ARGV[at + 1]))
  if window and ARGV[1] == 'dead' then
    add(KEYS[i], prefix, { 'hm', window.hm, money })
  elseif window then
    let_go(KEYS[i], prefix, window, money, requests, tokens)
  end
end
return 1
