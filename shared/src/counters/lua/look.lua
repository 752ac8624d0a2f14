-- Says that a proxy holds something here and lives, and how the shard is.
--
-- KEYS: incarnation, settled, living, durable. ARGV: the epoch, 1 where it holds something.
-- Answers the state, the incarnation's number, the last settlement counted, the last that is
-- in the database, and the time.
local now = clock()
local state, number = incarnation(redis.call('GET', KEYS[1]), now)
if ARGV[2] == '1' then redis.call('ZADD', KEYS[3], text(now), ARGV[1]) end
return {
  state, tonumber(number), tonumber(redis.call('HGET', KEYS[2], ARGV[1]) or '0'),
  tonumber(redis.call('HGET', KEYS[4], ARGV[1]) or '0'), now,
}
