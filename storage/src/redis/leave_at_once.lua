-- The common case of Leave: a slot is given back, claimed and in good health, and nobody waits for it
-- but in the gate's own line, whose first gets it.
local expires, line, place, to, to_key, lease

-- The gate, and who gets the slot, if somebody does.
repeat
    if not quiet or not kept or ARGV[3] == '1' or ARGV[4] and ARGV[4] ~= 'ok' then break end
    local left = { struct.unpack(LEASE, kept) }
    name, expires = left[4], left[11]
    if name == '' or left[5] ~= '' or left[10] >= 0 then break end
    kind = string.sub(name, 1, 1)
    format = kind == 'u' and USER or ACCOUNT
    local found = { struct.unpack(format, call('HGET', P .. 'g', name)) }
    if kind == 'a' and (c[7] > 0 or found[7] > 0 or found[8] == 0) then break end
    local limit, held, waiting = found[1], found[2], found[3]
    -- Who waits though there be room is not for this place to say.
    if waiting > 0 and (c[4] == 0 or limit < 0 or held < limit) then break end
    if waiting > 0 and held == limit then
        line = P .. 'l:' .. name
        place = call('ZRANGE', line, 0, 0)[1]
        to_key = string.sub(place, #head(place) + 1)
        to = head(to_key)
        to_key = string.sub(to_key, #to + 1)
        lease = { struct.unpack(LEASE, call('HGET', P .. 'n:' .. to, to_key)) }
        if lease[3] ~= '' or lease[4] ~= '' or c[2] >= lease[12] then break end
    end
    gate = found
until true

if gate and lease then
    local ttl, stamp, due = lease[8], c[3], math.min(c[2] + CLAIM_WINDOW, NEVER)
    call('ZREM', line, place)
    if gate[3] == 1 then call('SREM', P .. 'waited:g', name) end
    gate[2], gate[3], c[3] = gate[2] + 1, gate[3] - 1, stamp + 1
    if kind == 'a' then gate[4] = stamp end
    lease[4], lease[5], lease[7], lease[9], lease[10] = name, '', c[1], stamp, due
    if ttl >= 0 then
        lease[11] = math.min(c[2] + ttl, NEVER)
        due = math.min(due, lease[11])
    end
    call('HSET', P .. 'n:' .. to, to_key, struct.pack(LEASE, unpack(lease)))
    call('ZADD', P .. 'due', due, to .. to_key)
    c[5] = math.min(c[5], due)
end

if gate then
    gate[2] = gate[2] - 1
    call('HDEL', node, key)
    if expires >= 0 then call('ZREM', P .. 'due', ARGV[1] .. key) end
    local time = struct.pack(CLOCK, unpack(c))
    if kind == 'u' and gate[2] == 0 and gate[3] == 0 then
        call('HDEL', P .. 'g', name)
        call('HSET', P .. 'g', '@', time)
    else
        call('HSET', P .. 'g', '@', time, name, struct.pack(format, unpack(gate)))
    end
    if lease then redis.pcall('PUBLISH', P .. 'grant:' .. to, to_key .. ' ' .. name) end
    return 'done'
end
