-- Says that the store may have lost something: nothing counts here until it is healed.
--
-- KEYS: incarnation. ARGV: a new number for it.
redis.call('SET', KEYS[1], ARGV[1] .. ' C ' .. string.format('%.0f', clock()))
return redis.status_reply('OK')
