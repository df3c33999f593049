-- What the driver scenarios read and write.
CREATE TABLE driver_scenario (id int PRIMARY KEY, name text NOT NULL, payload bytea);
