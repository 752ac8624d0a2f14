-- Says of epochs how far their events are in the database. Never less than was said before.
--
-- KEYS: durable. ARGV: for each epoch its name and the last of its events.
for i = 1, #ARGV, 2 do
  if tonumber(ARGV[i + 1]) > tonumber(redis.call('HGET', KEYS[1], ARGV[i]) or '0') then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  end
end
return redis.status_reply('OK')
