CREATE INDEX IF NOT EXISTS forecast_valid_at ON forecast (valid_at);
