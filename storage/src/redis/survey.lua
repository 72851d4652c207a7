-- Survey: the best accounts of a pool by rank. Computes, stores nothing, and moves no clock.
-- ARGV: pool, model, session or nothing, the excluded accounts, how many of the best.
local id, model, session, excluded = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local best_max, line = tonumber(ARGV[5]), 'p' .. ARGV[1]
local open, opens_in, first, first_rank, best = 0, nil, nil, nil, {}

-- An account as it is kept. A survey looks at many and changes none, so that only those whose health
-- has to be asked are made into gates.
local function consider(name, kept, prefer_oauth)
    local limit, held, waiting, last, priority, oauth, guard = unpacked(RANKED, kept)
    local what = 'yes'
    if limit == 0 then return end
    if guard == 2 then
        local span
        what, span = usable(name, parsed_gate(name, kept), line, model, nil)
        if what == 'shut' then opens_in = math.min(opens_in or span, span) end
        if what ~= 'yes' and what ~= 'probing' then return end
    end
    open = open + 1
    local load, not_oauth = load_pct(limit, held, waiting), prefer_oauth and oauth == 0 and 1 or 0
    if not first or is_before(priority, 0, last, not_oauth, first_rank) then
        first, first_rank = name, { priority, 0, last, not_oauth }
    end
    if what ~= 'yes' or load >= 100 then return end
    local place = #best + 1
    while place > 1 and is_before(priority, load, last, not_oauth, best[place - 1]) do
        place = place - 1
    end
    if place <= best_max then
        table.insert(best, place, { priority, load, last, not_oauth, name })
        best[best_max + 1] = nil
    end
end

local function consider_all(pool)
    local members = pool.members
    for from = 1, #members, 1000 do
        local till = math.min(from + 999, #members)
        local kept = call('HMGET', P .. 'g', unpack(members, from, till))
        for n = from, till do
            if not has(excluded, string.sub(members[n], 2)) then
                consider(members[n], kept[n - from + 1], pool.prefer_oauth)
            end
        end
    end
end

local function look_at_home()
    local ends = call('ZSCORE', P .. 'ends', session)
    if not ends or raw >= tonumber(ends) then return '', '', 0, 0 end
    local account = call('HGET', P .. 's', session)
    local name = 'a' .. account
    local gate = gate_of(name)
    if not gate then return account, 'gone', 0, 0 end
    if not pool_of(id) or not has(gate.pools, id) or has(excluded, account) then
        return account, 'gone', 0, gate.waiting
    end
    local what, span = usable(name, gate, name, model, nil)
    if what == 'no' then return account, 'gone', 0, gate.waiting end
    if what == 'shut' then return account, 'shut', span, gate.waiting end
    local state = what == 'yes' and has_room(gate) and 'room' or 'full'
    return account, state, 0, gate.waiting
end

raw = read_clock() and math.max(raw, machine()) or machine()
local pool = pool_of(id)
if pool then consider_all(pool) end
local home, state, span, waiting = '', '', 0, 0
if session ~= '' then home, state, span, waiting = look_at_home() end
local reply = {
    'surveyed', open, open == 0 and opens_in or '', first and string.sub(first, 2) or '', home, state, span,
    waiting,
}
for _, candidate in ipairs(best) do
    local n = #reply
    reply[n + 1], reply[n + 2], reply[n + 3], reply[n + 4] =
        string.sub(candidate[5], 2), candidate[1], candidate[2], candidate[3]
end
return reply
