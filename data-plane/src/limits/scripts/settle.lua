-- Corrects what a call was charged to what it came to, and frees its places.
--
-- KEYS: the buckets to correct, then the calls to leave.
-- ARGV: the call's name, the number of buckets; then for each bucket the limits on requests
-- and tokens, the tokens charged, the tokens it came to, what was used just after the
-- charge, and when that was.
local now = clock()
local buckets = tonumber(ARGV[2])

for i = 1, buckets do
  local at = 6 * i - 4
  local per_requests, per_tokens = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local charged, real = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  local after, since = tonumber(ARGV[at + 5]), tonumber(ARGV[at + 6])
  local requests, tokens = drain(redis.call('GET', KEYS[i]), now, per_requests, per_tokens)
  if real > charged then
    tokens = math.min(MOST, tokens + (real - charged) * MINUTE)
  else
    -- What has drained meanwhile cannot be given back.
    local left = drained(after, per_tokens, math.max(0, now - since))
    tokens = math.max(0, tokens - math.min((charged - real) * MINUTE, left))
  end
  fill(KEYS[i], now, per_requests, per_tokens, requests, tokens)
end

for i = buckets + 1, #KEYS do
  redis.call('ZREM', KEYS[i], ARGV[1])
end
