-- Reads a shard as it is at one moment, for whoever compares it with the database.
--
-- KEYS: incarnation, settled, events, then budgets. ARGV: how many events are read at most.
-- Answers the state, the incarnation's number, the last settlement of each epoch, how many
-- events wait, those events (none where there are more), and what is kept of each budget.
local state, number = incarnation(redis.call('GET', KEYS[1]), clock())
local waiting = redis.call('XLEN', KEYS[3])
local events = {}
if waiting <= tonumber(ARGV[1]) then events = redis.call('XRANGE', KEYS[3], '-', '+') end
local budgets = {}
for i = 4, #KEYS do budgets[i - 3] = redis.call('GET', KEYS[i]) end
return { state, tonumber(number), redis.call('HGETALL', KEYS[2]), waiting, events, budgets }
