-- Puts a budget's caps in force, unless newer ones are. Those of a hard budget are not before it
-- is opened: what was spent until then would be spent once more.
--
-- KEYS: the budget.
-- ARGV: nine numbers: the version; 1 where it is hard; the caps in money, requests and tokens;
-- the raised ones, and until when they hold (0: there are none), where -1 is no cap. Then the
-- thresholds; then, where it is known, the present window's beginning and end, and what was
-- spent in it by calls that did not count on the budget yet.
-- Answers whether they are in force now; -1 where the budget is hard and not opened.
local terms = { struct.unpack('<i8i8i8i8i8i8i8i8i8', ARGV[1]) }
local budget = unpacked(KEYS[1], redis.call('GET', KEYS[1]))

local opening, is_opened = ARGV[3], struct.unpack('<i8', budget[KEPT], OPENING) ~= 0
if terms[2] == 1 and not is_opened and not opening then return -1 end
if opening and not is_opened then
  local from, till = struct.unpack('<i8i8', opening)
  if budget[PRESENT] < 0 then turn(budget, from, till) end
  -- What no event counted on this budget, for whoever compares.
  local told = struct.pack('<i8i8i8i8i8', 1, -1, 0, 0, 0)
  if budget[PRESENT] == from then
    local window, at = window_of(budget, from)
    for kind = 0, 2 do add_said(window, at + SPENT + kind, opening, 17 + 8 * kind) end
    told = struct.pack('<i8i8', 1, from) .. string.sub(opening, 17)
  end
  local kept = budget[KEPT]
  budget[KEPT] = string.sub(kept, 1, OPENING - 1) .. told .. string.sub(kept, THRESHOLDS)
  budget[STATE] = ALTERED
end

local is_newer = terms[1] > budget[VERSION]
if is_newer then
  for i = 1, 9 do budget[VERSION + i - 1] = terms[i] end
  budget[KEPT] = string.sub(budget[KEPT], 1, THRESHOLDS - 1) .. ARGV[2]
  budget[STATE] = ALTERED
  -- What was told of these caps' thresholds is what still holds of it.
  local told, holds = budget[PRESENT + TOLD], 0
  if told > 0 then
    local share = most_spent(budget, budget, PRESENT, clock())
    for place = 1, #ARGV[2], 2 do
      local percent = struct.unpack('<I2', ARGV[2], place)
      if percent <= told and percent <= share then holds = percent end
    end
    budget[PRESENT + TOLD] = holds
  end
end
write(budget)
return is_newer and 1 or 0
