-- Forgets a proxy's process that is silent and holds nothing.
--
-- KEYS: the proxy's holds, living. ARGV: the epoch, until when a sign of life was long ago.
local seen = redis.call('ZSCORE', KEYS[2], ARGV[1])
if seen and tonumber(seen) <= tonumber(ARGV[2]) and redis.call('HLEN', KEYS[1]) == 0 then
  return redis.call('ZREM', KEYS[2], ARGV[1])
end
return 0
