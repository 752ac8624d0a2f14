-- Waits for nobody any more who has not said what it holds: people know that they hold nothing.
--
-- KEYS: incarnation, awaited. Answers who was waited for.
local number = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+) L %d+$')
if not number then return {} end
redis.call('HDEL', KEYS[2], 'until')
local awaited = redis.call('HKEYS', KEYS[2])
redis.call('SET', KEYS[1], number .. ' W 0')
redis.call('DEL', KEYS[2])
return awaited
