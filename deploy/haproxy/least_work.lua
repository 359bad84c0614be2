-- Chooses the node that has the least work under way: bytes of texts, which are near to tokens.
-- A connection count takes a document of 8,192 tokens for a query's equal. What nodes say of
-- their queues comes with answers, too late for the requests in between; this count is of now.
--
--   filter lua.least_work          before
--   http-request lua.least_work    sets txn.node, for `use-server %[var(txn.node)]`

-- What a request costs beside its texts, in bytes: even empty ones are not free.
local COST_OF_ANY = 200
-- Of a body that does not say how long it is.
local UNKNOWN = 20000

local under_way = {} -- by node: bytes

local function size_of(txn)
    return (tonumber(txn.sf:req_fhdr("content-length")) or UNKNOWN) + COST_OF_ANY
end

-- Work per weight, so that a node that starts slowly gets its first requests slowly.
local function least(backend, size)
    local best, lowest, ties = nil, nil, 0
    for name, server in pairs(backend.servers) do
        local stats = server:get_stats()
        local weight = tonumber(stats.weight) or 0
        if stats.status:sub(1, 2) == "UP" and weight > 0 then
            local work = ((under_way[name] or 0) + size) / weight
            if lowest == nil or work < lowest then
                best, lowest, ties = name, work, 1
            elseif work == lowest then
                ties = ties + 1
                if math.random(ties) == 1 then best = name end
            end
        end
    end
    return best
end

core.register_action("least_work", { "http-req" }, function(txn)
    local size = size_of(txn)
    local node = least(core.backends[txn.f:be_name()], size)
    if node == nil then return end
    under_way[node] = (under_way[node] or 0) + size
    txn:set_var("txn.node", node)
    txn:set_var("txn.work", size)
end, 0)

-- Takes the work off again when the exchange ends, however it ends.
local Exchange = { id = "least work", flags = filter.FLT_CFG_FL_HTX }
Exchange.__index = Exchange

function Exchange:new()
    return setmetatable({ over = false }, Exchange)
end

function Exchange:end_analyze(txn, channel)
    local node = txn:get_var("txn.node")
    if self.over or node == nil or not channel:is_resp() then return end
    self.over = true
    under_way[node] = under_way[node] - txn:get_var("txn.work")
end

core.register_filter("least_work", Exchange, function(exchange) return exchange end)
