-- Adds to the bytes stored for a client, and returns the sum. ARGV: client, bytes, result ttl
local client, life, sum = ARGV[1], tonumber(ARGV[3]), 0
if ARGV[2] ~= '0' then keep_account(client, ARGV[2], life) end
for back = 0, SLICES do
  sum = sum + tonumber(redis.call('GET', slice_key(client, life, back)) or 0)
end
return sum
