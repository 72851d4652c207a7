-- Beat: the session goes on.
-- ARGV: node.
local function beat()
    local node = ARGV[1]
    if is_dead(node) then return 'lost' end
    set_end(node, clock + SESSION)
    local over = call('ZRANGEBYSCORE', P .. 'x:' .. node, '-inf', clock, 'LIMIT', 0, SWEEP_MAX)
    if #over > 0 then
        call('ZREM', P .. 'x:' .. node, unpack(over))
        call('HDEL', P .. 'n:' .. node, unpack(over))
    end
    local reply = { 'alive', lease_count(node), identity() }
    for _, member in ipairs(nodes_between(string.format('(%.0f', clock), '+inf')) do
        reply[#reply + 1] = member
    end
    return reply
end

begin()
return finish(beat())
