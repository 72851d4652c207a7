-- The common case of Leave, see that of Enter: a slot is given back, claimed and in good health, and
-- nobody waits for it.
do
    local P, call = KEYS[1] .. ':', redis.call
    local function leave()
        if ARGV[3] == '1' or ARGV[4] and ARGV[4] ~= 'ok' then return nil end
        local session = call('HMGET', P .. 'n:' .. ARGV[1], '@', ARGV[2])
        local kept = call('GET', P .. 'clock')
        if not kept or not session[1] or not session[2] then return nil end
        if string.sub(session[2], 1, 1) == 'X' then return nil end
        local c, now, lease = cmsgpack.unpack(kept), machine(), cmsgpack.unpack(session[2])
        local gone = math.max(now - c[1], 0)
        c[1], c[2] = c[1] + gone, c[2] + math.min(gone, GAP_MAX)
        if c[2] >= c[5] or c[1] >= c[6] or c[2] >= tonumber(session[1]) then return nil end
        if not lease[7] or lease[9] or lease[11] then return nil end
        local kind, id = string.sub(lease[7], 1, 1), string.sub(lease[7], 2)
        local gate = cmsgpack.unpack(call('HGET', P .. kind, id))
        local waited = gate[3] > 0 or kind == 'a' and c[7] > 0
        if waited or kind == 'a' and (gate[7] > 0 or not gate[8]) then return nil end
        gate[2] = gate[2] - 1
        call('HDEL', P .. 'n:' .. ARGV[1], ARGV[2])
        if kind == 'u' and gate[2] == 0 then
            call('HDEL', P .. 'u', id)
        else
            call('HSET', P .. kind, id, cmsgpack.pack(gate))
        end
        if lease[10] then call('ZREM', P .. 'due', ARGV[1] .. ARGV[2]) end
        call('SET', P .. 'clock', cmsgpack.pack(c))
        return 'done'
    end
    local reply = leave()
    if reply then return reply end
end
