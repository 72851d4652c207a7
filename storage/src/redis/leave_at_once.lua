-- The common case of Leave: a slot is given back, claimed and in good health, and nobody waits for it
-- but in the gate's own line, whose first gets it.
local expires, line, place, to, to_key, lease, _

-- The gate, and who gets the slot, if somebody does.
repeat
    if not quiet or not kept or ARGV[3] == '1' or ARGV[4] and ARGV[4] ~= 'ok' then break end
    local its_line, claim_by
    _, _, _, name, its_line, _, _, _, _, claim_by, expires = unpacked(LEASE, kept)
    if name == '' or its_line ~= '' or claim_by >= 0 then break end
    kind, gate = string.sub(name, 1, 1), call('HGET', P .. 'g', name)
    if kind == 'u' then
        limit, held, waiting, version = unpacked(USER, gate)
    else
        limit, held, waiting, last, priority, oauth, guard, listed, operator, pools =
            unpacked(ACCOUNT, gate)
        if pools_waited > 0 or guard > 0 or listed == 0 then break end
    end
    -- Who waits though there be room is not for this place to say.
    if waiting > 0 and (settles == 0 or limit < 0 or held < limit) then break end
    if waiting > 0 and held == limit then
        line = P .. 'l:' .. name
        place = call('ZRANGE', line, 0, 0)[1]
        to_key = string.sub(place, #head(place) + 1)
        to = head(to_key)
        to_key = string.sub(to_key, #to + 1)
        lease = { unpacked(LEASE, call('HGET', P .. 'n:' .. to, to_key)) }
        if lease[3] ~= '' or lease[4] ~= '' or clock >= lease[12] then break end
    end
    applies = true
until true

if applies and lease then
    local ttl, due = lease[8], math.min(clock + CLAIM_WINDOW, NEVER)
    call('ZREM', line, place)
    if waiting == 1 then call('SREM', P .. 'waited:g', name) end
    lease[4], lease[5], lease[7], lease[9], lease[10] = name, '', raw, counter, due
    if ttl >= 0 then
        lease[11] = math.min(clock + ttl, NEVER)
        due = math.min(due, lease[11])
    end
    held, waiting, last, counter = held + 1, waiting - 1, counter, counter + 1
    call('HSET', P .. 'n:' .. to, to_key, pack(LEASE, unpack(lease)))
    call('ZADD', P .. 'due', due, to .. to_key)
    due_from = math.min(due_from, due)
end

if applies then
    held = held - 1
    call('HDEL', node, key)
    if expires >= 0 then call('ZREM', P .. 'due', ARGV[1] .. key) end
    time = pack(CLOCK, raw, clock, counter, settles, due_from, open_from, pools_waited)
    if kind == 'a' then
        gate = pack(ACCOUNT, limit, held, waiting, last, priority, oauth, guard, listed, operator, pools)
    elseif held > 0 or waiting > 0 then
        gate = pack(USER, limit, held, waiting, version)
    else
        gate = nil
    end
    if gate then
        call('HSET', P .. 'g', '@', time, name, gate)
    else
        call('HDEL', P .. 'g', name)
        call('HSET', P .. 'g', '@', time)
    end
    if lease then redis.pcall('PUBLISH', P .. 'grant:' .. to, to_key .. ' ' .. name) end
    return 'done'
end
