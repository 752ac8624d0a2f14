-- Says that a proxy holds something here and lives, and how the shard is. Who has said all that
-- it holds is not waited for any more; after the last of those the shard learns for as long as
-- any other would, and not longer.
--
-- KEYS: incarnation, settled, living, durable, awaited. ARGV: the epoch, 1 where it holds
-- something, the incarnation's number to which it has said all it holds.
-- Answers the state, the incarnation's number, the last settlement counted, the last that is
-- in the database, and the time.
local now = clock()
local state, number = incarnation(redis.call('GET', KEYS[1]), now)
if ARGV[2] == '1' then redis.call('ZADD', KEYS[3], text(now), ARGV[1]) end
if state == 'L' and number == ARGV[3] and redis.call('HDEL', KEYS[5], ARGV[1]) == 1
  and redis.call('HLEN', KEYS[5]) == 1 then
  local kept = number .. ' L ' .. redis.call('HGET', KEYS[5], 'until')
  redis.call('SET', KEYS[1], kept)
  redis.call('DEL', KEYS[5])
  state = incarnation(kept, now)
end
return {
  state, tonumber(number), tonumber(redis.call('HGET', KEYS[2], ARGV[1]) or '0'),
  tonumber(redis.call('HGET', KEYS[4], ARGV[1]) or '0'), now,
}
