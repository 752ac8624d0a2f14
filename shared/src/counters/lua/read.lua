-- Reads a shard as it is at one moment, for whoever compares it with the database.
--
-- KEYS: incarnation, settled, events, living, the holds of the dead, then budgets. ARGV: how many
-- events are read at most; what the names of holds begin with, behind which an epoch follows.
-- Answers the state, the incarnation's number, the last settlement of each epoch, how many
-- events wait, those events (none where there are more), what is kept of each budget, what the
-- living hold, and what the dead do.
local state, number = incarnation(redis.call('GET', KEYS[1]), clock())
local waiting = redis.call('XLEN', KEYS[3])
local events = {}
if waiting <= tonumber(ARGV[1]) then events = redis.call('XRANGE', KEYS[3], '-', '+') end
local budgets = {}
for i = 6, #KEYS do budgets[i - 5] = redis.call('GET', KEYS[i]) or '' end
local held = {}
for _, epoch in ipairs(redis.call('ZRANGE', KEYS[4], 0, -1)) do
  for _, written in ipairs(redis.call('HVALS', ARGV[2] .. epoch)) do held[#held + 1] = written end
end
return {
  state, tonumber(number), redis.call('HGETALL', KEYS[2]), waiting, events, budgets, held,
  redis.call('HVALS', KEYS[5]),
}
