-- Whether a client has as many jobs as it may have. ARGV: client, most (0: any).  Returns 1 | 0
return is_busy(ARGV[1], tonumber(ARGV[2])) and 1 or 0
