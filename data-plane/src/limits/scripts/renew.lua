-- Keeps the places of calls that are still under way.
--
-- KEYS: one level's calls. ARGV: the life of a place in milliseconds, then the calls' names.
local until_then = clock() + tonumber(ARGV[1])
for i = 2, #ARGV do
  redis.call('ZADD', KEYS[1], until_then, ARGV[i])
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
