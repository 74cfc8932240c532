"""An engine without a model: SGLang's HTTP API and the timing of a batching engine, text that is made up.

`core` is the batch, pure; `reply` and `schema_values` decide what is answered, pure; `wire` is the API's formats;
`server` gives them a clock and a socket; `cli` is `llmsched engine-sim`.
"""
