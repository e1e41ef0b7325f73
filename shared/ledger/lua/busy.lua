-- Whether a client may have no more jobs. ARGV: client, most (0: any).  Returns 1 | 0
return is_busy(ARGV[1], tonumber(ARGV[2])) and 1 or 0
