-- Which nodes have a session, or had one that is not reaped yet: for operators.
-- Answers of each its id and its instance, by the end of their sessions.
local reply = {}
for _, node in ipairs(call('ZRANGE', P .. 'nodes', 0, -1)) do
    reply[#reply + 1] = node
    reply[#reply + 1] = call('HGET', P .. 'names', node) or ''
end
return reply
