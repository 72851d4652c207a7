-- Survey: the best accounts of a pool by rank. Computes, stores nothing, and moves no clock.
-- ARGV: pool, model, session or nothing, the excluded accounts, how many of the best.
--
-- It looks at many accounts and changes none: they stay records, the functions of the other operations
-- are not even made (`health_part`) unless an account's health has to be asked, and what is done for
-- each account is written out.
local id, model, session, excluded = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local best_max, floor = tonumber(ARGV[5]), math.floor
local open, opens_in, first, best = 0, nil, nil, {}
local first_priority, first_last, first_not_oauth
local ask_health

-- Whether an account may be used, as the health has it, whose record says that it may say no.
local function asked(name, kept, line)
    ask_health = ask_health or health_part()
    return ask_health(name, kept, line, model)
end

-- Puts an account among the best.
local function rank_in(priority, load, last, not_oauth, name)
    local place = #best + 1
    while place > 1 and is_before(priority, load, last, not_oauth, best[place - 1]) do
        place = place - 1
    end
    table.insert(best, place, { priority, load, last, not_oauth, name })
    best[best_max + 1] = nil
end

-- The members from one number on, as they are kept.
local function consider(members, from, all_kept, prefer_oauth)
    for n = 1, #all_kept do
        local name, what, span = members[from + n - 1], 'yes', nil
        local limit, held, waiting, last, priority, oauth, guard = unpacked(RANKED, all_kept[n])
        if limit == 0 or excluded ~= '' and has(excluded, string.sub(name, 2)) then
            what = 'no'
        elseif guard == 2 then
            what, span = asked(name, all_kept[n], 'p' .. id)
            if what == 'shut' then opens_in = math.min(opens_in or span, span) end
        end
        if what == 'yes' or what == 'probing' then
            local not_oauth = prefer_oauth and oauth == 0 and 1 or 0
            open = open + 1
            if not first or priority < first_priority or priority == first_priority
                and (last < first_last or last == first_last and not_oauth < first_not_oauth) then
                first, first_priority, first_last, first_not_oauth = name, priority, last, not_oauth
            end
            local load = limit > 0 and floor((held + waiting) * 100 / limit) or 0
            local least = best[best_max]
            if what == 'yes' and load < 100
                and (not least or is_before(priority, load, last, not_oauth, least)) then
                rank_in(priority, load, last, not_oauth, name)
            end
        end
    end
end

local function consider_all(pool)
    local members = pool[2]
    for from = 1, #members, 1000 do
        local till = math.min(from + 999, #members)
        consider(members, from, call('HMGET', P .. 'g', unpack(members, from, till)), pool[1])
    end
end

-- The session's account, in what state it is, for how long if it is shut, and how many wait for it.
local function look_at_home(pool)
    local ends, kept = call('ZSCORE', P .. 'ends', session), call('HGET', P .. 'g', '@')
    local raw = math.max(kept and unpacked(CLOCK, kept) or 0, machine())
    if not ends or raw >= tonumber(ends) then return '', '', 0, 0 end
    local account = call('HGET', P .. 's', session)
    local name = 'a' .. account
    local gate = call('HGET', P .. 'g', name)
    if not gate then return account, 'gone', 0, 0 end
    local limit, held, waiting, _, _, _, guard, _, _, pools = unpacked(ACCOUNT, gate)
    local what, span = 'yes', nil
    if not pool or not has(pools, id) or has(excluded, account) or limit == 0 then
        what = 'no'
    elseif guard == 2 then
        what, span = asked(name, gate, name)
    end
    if what == 'no' then return account, 'gone', 0, waiting end
    if what == 'shut' then return account, 'shut', span, waiting end
    local room = what == 'yes' and (limit < 0 or held < limit)
    return account, room and 'room' or 'full', 0, waiting
end

local pool = call('HGET', P .. 'p', id)
pool = pool and cmsgpack.unpack(pool)
if pool then consider_all(pool) end
local home, state, span, waiting = '', '', 0, 0
if session ~= '' then home, state, span, waiting = look_at_home(pool) end
local reply = {
    'surveyed', open, open == 0 and opens_in or '', first and string.sub(first, 2) or '', home,
    state, span, waiting,
}
for n, candidate in ipairs(best) do
    local at = 4 * n + 4
    reply[at + 1], reply[at + 2], reply[at + 3], reply[at + 4] =
        string.sub(candidate[5], 2), candidate[1], candidate[2], candidate[3]
end
return reply
