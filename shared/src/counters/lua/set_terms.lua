-- Puts a budget's caps in force, unless newer ones are.
--
-- KEYS: the budget.
-- ARGV: the version; 1 where it is hard; the caps in money, requests and tokens; the raised
-- ones, and until when they hold (0: there are none); the thresholds, with commas; then,
-- where it is known, the present window's beginning and end and what was spent in it by
-- calls that did not count on the budget yet. An empty text is no cap.
-- Answers whether they are in force now.
if ARGV[11] and redis.call('HEXISTS', KEYS[1], 'opened') == 0 then
  if redis.call('HEXISTS', KEYS[1], 'ws') == 0 then
    redis.call('HSET', KEYS[1], 'ws', ARGV[11], 'we', ARGV[12])
  end
  if redis.call('HGET', KEYS[1], 'ws') == ARGV[11] then
    for i, name in ipairs({ 'sm', 'sr', 'st' }) do
      redis.call('HINCRBY', KEYS[1], name, ARGV[12 + i])
    end
    -- What no event counted on this budget, for whoever compares.
    redis.call('HSET', KEYS[1], 'ow', ARGV[11], 'om', ARGV[13], 'or', ARGV[14], 'ot', ARGV[15])
  end
  redis.call('HSET', KEYS[1], 'opened', '1')
end

if tonumber(ARGV[1]) <= tonumber(redis.call('HGET', KEYS[1], 'v') or '0') then return 0 end
redis.call('HSET', KEYS[1], 'v', ARGV[1], 'hard', ARGV[2], 'until', ARGV[9], 'th', ARGV[10])
for i, name in ipairs({ 'm', 'r', 't', 'um', 'ur', 'ut' }) do
  if ARGV[i + 2] == '' then
    redis.call('HDEL', KEYS[1], name)
  else
    redis.call('HSET', KEYS[1], name, ARGV[i + 2])
  end
end
return 1
