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
  local limits = { requests = tonumber(ARGV[at + 1]), tokens = tonumber(ARGV[at + 2]) }
  local charged, real = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  local after, since = tonumber(ARGV[at + 5]), tonumber(ARGV[at + 6])
  local used = read(KEYS[i], now, limits)
  if real > charged then
    used.tokens = math.min(MOST, used.tokens + (real - charged) * MINUTE)
  else
    -- What has drained meanwhile cannot be given back.
    local left = drained(after, limits.tokens, math.max(0, now - since))
    used.tokens = math.max(0, used.tokens - math.min((charged - real) * MINUTE, left))
  end
  write(KEYS[i], now, limits, used)
end

for i = buckets + 1, #KEYS do
  redis.call('ZREM', KEYS[i], ARGV[1])
end
