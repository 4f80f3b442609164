"""Operations counted, prices of operations and memory, tables as YAML."""
