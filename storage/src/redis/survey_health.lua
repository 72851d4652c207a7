-- For Survey: what says whether an account may be used.
raw = read_clock() and math.max(raw, machine()) or machine()
return function(name, kept, line, model)
    return usable(name, parsed_gate(name, kept), line, model, nil)
end
