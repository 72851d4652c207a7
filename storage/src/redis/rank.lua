-- Order of preference: priority, load, last assignment, not OAuth. Who is neither before nor after
-- another is as the pool has them, by id.

local function load_pct(limit, held, waiting)
    if limit == 0 then return 100 end
    if limit < 0 then return 0 end
    return math.min(math.floor((held + waiting) * 100 / limit), 4294967295)
end

local function rank_of(gate, prefer_oauth)
    local not_oauth = prefer_oauth and not gate.oauth and 1 or 0
    return { gate.priority, load_pct(gate.limit, gate.held, gate.waiting), gate.last, not_oauth }
end

-- Whether somebody of this priority, load, last assignment and not OAuth ranks before another.
local function is_before(priority, load, last, not_oauth, other)
    if priority ~= other[1] then return priority < other[1] end
    if load ~= other[2] then return load < other[2] end
    if last ~= other[3] then return last < other[3] end
    return not_oauth < other[4]
end
