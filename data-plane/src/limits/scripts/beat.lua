-- Says that a proxy lives, and answers how many do, and the time.
--
-- KEYS: the fleet. ARGV: the proxy's name, and how long a beat counts in milliseconds.
local now = clock()
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[2]))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return { redis.call('ZCARD', KEYS[1]), now }
