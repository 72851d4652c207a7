-- The clock; which gate it is, only the lease knows.
local time, kind, name, gate = call('HGET', P .. 'g', '@')
