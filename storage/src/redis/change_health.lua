-- Health: what changes an account's health besides marks.
-- ARGV: account, model or nothing, what to do, for `proved` node and key of the lease.
local function prove(name, gate, id)
    if gate.guard ~= 2 then return end
    local account = string.sub(name, 2)
    for _, key in pairs(keys_of(health_of(account))) do
        if key.half_open and key.probe == id then
            key.half_open, key.probe, healths_changed[account] = false, false, true
        end
    end
end

local function recover(health)
    if ARGV[2] ~= '' then
        health.models[ARGV[2]] = nil
    else
        health.own, health.models = new_key(), {}
    end
end

local function change_health()
    local name, what = 'a' .. ARGV[1], ARGV[3]
    if what == 'proved' and is_dead(ARGV[4]) then return 'lost' end
    local gate
    if what == 'drain' or what == 'disable' then
        gate = make_gate(name)
        gate.operator = what == 'drain' and 1 or 2
    else
        gate = gate_of(name)
        if not gate then return 'done' end
        if what == 'proved' then
            prove(name, gate, ARGV[4] .. ARGV[5])
        else
            gate.operator = 0
            with_health(name, gate, recover)
        end
    end
    set_guard(name, gate)
    settle(name)
    idle[name] = true
    return 'done'
end

begin()
return finish(change_health())
