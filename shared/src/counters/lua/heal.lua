-- Puts into a store that lost something what the database knows and it does not.
--
-- KEYS: incarnation, settled, events' durable marks, then the budgets.
-- ARGV: the incarnation's number as it was read (0 where there was none), a new one, for how
-- many milliseconds proxies may say what they hold, the number of epochs; then for each epoch
-- its name and the last settlement that is in the database; then for each budget its window's
-- beginning and end (0 where it is not known), and what to add that was spent in it in money, requests and tokens.
-- Answers whether it was healed: not if the store is another one meanwhile.
local now = clock()
local state, number = incarnation(KEYS[1], now)
if state ~= 'C' or number ~= ARGV[1] then return 0 end
local at = 4
for _ = 1, tonumber(ARGV[4]) do
  local epoch, last = ARGV[at + 1], tonumber(ARGV[at + 2])
  if last > tonumber(redis.call('HGET', KEYS[2], epoch) or '0') then
    redis.call('HSET', KEYS[2], epoch, text(last))
  end
  redis.call('HSET', KEYS[3], epoch, text(last))
  at = at + 2
end
for i = 4, #KEYS do
  local from, till = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local budget = read_budget(KEYS[i])
  if not budget.ws or from > budget.ws then turn(budget, from, till > 0 and till or nil) end
  local window, prefix = window_of(budget, from)
  if window then
    add(KEYS[i], prefix, {
      'sm', window.sm, tonumber(ARGV[at + 3]), 'sr', window.sr, tonumber(ARGV[at + 4]),
      'st', window.st, tonumber(ARGV[at + 5]),
    })
  end
  at = at + 5
end
redis.call('SET', KEYS[1], ARGV[2] .. ' L ' .. text(now + tonumber(ARGV[3])))
return 1
