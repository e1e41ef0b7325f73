-- How many queued jobs a worker could claim: not those that it has refused.
-- ARGV: base, worker.  Returns a number
local queued, waiting = 'queued:' .. ARGV[1], redis.call('ZCARD', 'queued:' .. ARGV[1])
for _, id in ipairs(redis.call('SMEMBERS', refused_key(ARGV[2]))) do
  if redis.call('ZSCORE', queued, id) then waiting = waiting - 1 end
end
return waiting
