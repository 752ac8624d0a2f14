-- The part of budgets in letting a call through, in two steps, so that whatever else a call
-- has to pass is asked in between: all of it passes, or nothing is held.

-- How many words are said of each budget: version, what to hold in money, requests and tokens,
-- and four edges of windows.
local WORDS = 8

-- Reads the budgets at `keys`, of which the words begin behind `at`. Answers them and what
-- stands against the call: a word, the place of the budget, and of what there is not enough.
-- Where several budgets have not enough, the one that lacks most.
local function look_at_budgets(keys, at, now)
  local budgets, against, index, kind, lacks = {}, nil, 0, 0, 0
  for i, key in ipairs(keys) do
    local budget = read_budget(key)
    local said = {}
    for n = 1, WORDS do said[n] = tonumber(ARGV[at + WORDS * (i - 1) + n]) end
    budget.wanted = { said[2], said[3], said[4] }
    budgets[i] = budget
    if not budget.v or budget.v < said[1] then
      if against ~= 'window' then against, index = 'terms', i end
    elseif not present(budget, now, { said[5], said[6], said[7], said[8] }) then
      against, index = 'window', i
    elseif budget.hard == 1 and against ~= 'terms' and against ~= 'window' then
      for n, name in ipairs({ 'm', 'r', 't' }) do
        local most = cap(budget, name, now)
        if most then
          local short = budget['s' .. name] + budget['r' .. name] + budget.wanted[n] - most
          local weight = most > 0 and short / most or short
          if short > 0 and budget.wanted[n] > 0 and (not against or weight > lacks) then
            against, index, kind, lacks = 'spent', i, n, weight
          end
        end
      end
    end
  end
  return budgets, against, index, kind
end

-- Holds what a call wants of all budgets, under its name. A process that begins to hold
-- something has given a sign of life.
local function take_budgets(budgets, holds, living, call, now)
  local all = {}
  for i, budget in ipairs(budgets) do
    local wanted = budget.wanted
    hold(budget.key, '', budget, wanted[1], wanted[2], wanted[3])
    for n, name in ipairs({ 'm', 'r', 't' }) do
      budget['r' .. name] = budget['r' .. name] + wanted[n]
    end
    local id = string.match(budget.key, '[^:]+$')
    all[i] = written(id, budget.ws, wanted[1], wanted[2], wanted[3])
  end
  redis.call('HSET', holds, call, table.concat(all))
  if redis.call('HLEN', holds) == 1 then
    redis.call('ZADD', living, text(now), string.match(holds, '[^:]+$'))
  end
end

-- A budget as the caller is told of it: its window, then the cap (-1: none), what is spent
-- and what is held in money, requests and tokens.
local function told(budget, now, answer)
  answer[#answer + 1] = budget.ws or 0
  answer[#answer + 1] = budget.we or 0
  for _, name in ipairs({ 'm', 'r', 't' }) do
    answer[#answer + 1] = cap(budget, name, now) or -1
    answer[#answer + 1] = budget['s' .. name]
    answer[#answer + 1] = budget['r' .. name]
  end
end
