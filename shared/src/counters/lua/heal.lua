-- Puts into a store that lost something what the database knows and it does not.
--
-- KEYS: incarnation, settled, events' durable marks, awaited, then the budgets.
-- ARGV: the incarnation's number as it was read (0 where there was none), a new one, for how
-- many milliseconds proxies may say what they hold, for how many at most those are waited for
-- that held something; the number of these, and of the other epochs; then the epochs that are
-- waited for; then for each other its name and the last settlement that is in the database; then
-- for each budget its window's beginning and end (0 where it is not known), and what to add that
-- was spent in it.
-- Answers whether it was healed: not if the store is another one meanwhile.
local now = clock()
local state, number = incarnation(redis.call('GET', KEYS[1]), now)
if state ~= 'C' or number ~= ARGV[1] then return 0 end
local learns_until, at = text(now + tonumber(ARGV[3])), 7
redis.call('DEL', KEYS[4])
if ARGV[5] ~= '0' then
  redis.call('HSET', KEYS[4], 'until', learns_until)
  for _ = 1, tonumber(ARGV[5]) do
    redis.call('HSET', KEYS[4], ARGV[at], '')
    at = at + 1
  end
  learns_until = text(now + tonumber(ARGV[4]))
end
for _ = 1, tonumber(ARGV[6]) do
  local epoch, last = ARGV[at], tonumber(ARGV[at + 1])
  if last > tonumber(redis.call('HGET', KEYS[2], epoch) or '0') then
    redis.call('HSET', KEYS[2], epoch, text(last))
  end
  redis.call('HSET', KEYS[3], epoch, text(last))
  at = at + 2
end
local budgets, by_id = read_budgets(5)
for i, budget in ipairs(budgets) do
  local said = ARGV[at + i - 1]
  local from, till = struct.unpack('<i8i8', said)
  if from > budget[PRESENT] then turn(budget, from, till) end
  local window, of = window_of(budget, from)
  if window then
    for kind = 0, 2 do add_said(window, of + SPENT + kind, said, 17 + 8 * kind) end
  end
end
write_all(by_id)
redis.call('SET', KEYS[1], ARGV[2] .. ' L ' .. learns_until)
return 1
