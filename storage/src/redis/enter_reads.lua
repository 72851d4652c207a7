-- The clock, and the gate of a new lease with it: the best that it wants.
local pool = ARGV[7] == 'p' and ARGV[8]
local kind = pool and 'a' or ARGV[7]
local name = kind .. (not pool and ARGV[8] or ARGV[12] or '')
local time, gate = unpack(call('HMGET', P .. 'g', '@', name))
