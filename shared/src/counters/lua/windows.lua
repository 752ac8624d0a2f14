-- What is done to the windows of budgets, behind `counter.lua`. A call that is let through needs
-- this seldom, and Redis makes each function anew whenever a script runs.

-- Adds a number of eight bytes that begins at `place` in a text.
local function add_said(window, at, said, place)
  local low, high = struct.unpack('<I4i4', said, place)
  if high < EXACT / HALF and not window.large then
    add(window, at, high * HALF + low)
  else
    add_halves(window, at, low, high)
  end
end

-- Lets go of what was held, and never of more.
local function let_go(window, at, money, requests, tokens)
  local held = at + HELD
  local m, r, t = window[held], window[held + 1], window[held + 2]
  add_all(window, held, money < m and -money or -m, requests < r and -requests or -r,
    tokens < t and -tokens or -t)
end

-- The dead hold so much less of the money that is held.
local function is_alive(window, at, money)
  local dead = window[at + DEAD]
  add(window, at + DEAD, money < dead and -money or -dead)
end

-- The windows beside the present one, the latest first. Whoever asks is about to change them.
local function others_of(budget)
  budget[STATE] = ALTERED
  if not budget.others then
    local kept, windows = budget[KEPT], {}
    for i = 1, OTHERS do
      local first = SIZE + WINDOW_SIZE * (i - 1) + 1
      local it = { struct.unpack(WINDOW, kept, first) }
      if it[1] >= 0 then
        if budget[LARGE] ~= 0 then find_large(it, 1, 1, string.sub(kept, first)) end
        windows[#windows + 1] = it
      end
    end
    budget.others = windows
  end
  return budget.others
end

-- Keeps a window beside the present one, unless it is older than all that there is room for.
local function set_aside(budget, window)
  local windows = others_of(budget)
  local place = 1
  while windows[place] and windows[place][1] > window[1] do place = place + 1 end
  table.insert(windows, place, window)
  windows[OTHERS + 1] = nil
  return place <= OTHERS
end

-- The window of a budget that began at `from`, to be changed: a table and where in it that
-- stands. Nil for one that is forgotten.
local function window_of(budget, from)
  if from == budget[PRESENT] then
    if budget[STATE] ~= ALTERED then budget[STATE] = CHANGED end
    return budget, PRESENT
  end
  for _, it in ipairs(others_of(budget)) do
    if it[1] == from then return it, 1 end
  end
  local new = { from, 0, 0, 0, 0, 0, 0, 0, 0 }
  if set_aside(budget, new) then return new, 1 end
  return nil
end

-- Begins a window: puts the present one aside. What came in of the new one before anybody
-- began it is taken up. Who heals knows when a window began, and not when it ends: `till` is 0
-- then, until a call brings that.
local function turn(budget, from, till)
  local windows, new = others_of(budget), nil
  for i, it in ipairs(windows) do
    if it[1] == from then new = table.remove(windows, i) break end
  end
  if budget[PRESENT] >= 0 then
    local old = { unpack(budget, PRESENT, PRESENT + DEAD) }
    if budget.large then
      old.large = {}
      for n, halves in pairs(budget.large) do old.large[n - PRESENT + 1] = halves end
      budget.large = nil
    end
    set_aside(budget, old)
  end
  budget[PRESENT], budget[TILL] = from, till
  for n = 1, DEAD do budget[PRESENT + n] = new and new[1 + n] or 0 end
  if new and new.large then
    budget.large = {}
    for n, halves in pairs(new.large) do budget.large[n + PRESENT - 1] = halves end
  end
end

-- Sees to it that the present window is the one that `now` is in. `edges` are where the
-- windows meet that the caller knows of. A window that was begun ends when it was said
-- to, and the next begins there: no two overlap, whoever knows which edges. Answers
-- whether the caller knew enough.
local function present(budget, now, edges)
  local from, till = budget[PRESENT], budget[TILL]
  for i = 1, 3 do
    if now >= edges[i] and now < edges[i + 1] then
      if from >= edges[i] and till == 0 then
        budget[TILL], budget[STATE] = edges[i + 1], ALTERED
      else
        turn(budget, math.max(edges[i], till), edges[i + 1])
      end
      return true
    end
  end
  return false
end

-- How many budgets one command reads: a table is taken apart for it.
local AT_ONCE = 1000

-- Reads the budgets among KEYS from a place on. Answers them in that order, where one that is
-- named twice is the same; and each once, by its key's last part, by which holds name it.
local function read_budgets(from)
  local budgets, by_id = {}, {}
  for first = from, #KEYS, AT_ONCE do
    local last = math.min(#KEYS, first + AT_ONCE - 1)
    for i, kept in ipairs(redis.call('MGET', unpack(KEYS, first, last))) do
      local key = KEYS[first + i - 1]
      local id = string.sub(key, -32)
      local budget = by_id[id] or unpacked(key, kept)
      by_id[id], budgets[first + i - from] = budget, budget
    end
  end
  return budgets, by_id
end
