-- How much of its caps a window of a budget has spent, in percent: of that kind of which it is
-- most, and which that is.
local function most_spent(budget, window, at, now)
  local caps, share, which = caps_of(budget, now), 0, 0
  for kind = 0, 2 do
    local most = budget[caps + kind]
    local part = most > 0 and window[at + SPENT + kind] * 100 / most or 0
    if part > share then share, which = part, kind end
  end
  return share, which
end
