-- What the writing connection keeps in memory: a segment of one topic and one row of `state`, inserted as one.
CREATE TEMP VIEW put AS SELECT
    0 AS first, 0 AS position, 0 AS count, 0 AS at_us, 0 AS minute, 0 AS generator, 0 AS bytes, 0 AS voids, 0 AS shares,
    0 AS body, 0 AS set_off, 0 AS topic, 0 AS key, 0 AS value;

CREATE TEMP TRIGGER put_apart INSTEAD OF INSERT ON put BEGIN
    INSERT INTO heads VALUES (
        NEW.first, NEW.position, NEW.count, NEW.at_us, NEW.minute, NEW.generator, NEW.bytes, NEW.voids, NEW.shares
    );
    INSERT INTO bodies VALUES (NEW.position, NEW.first, NEW.body, NEW.set_off);
    INSERT INTO holds VALUES (NEW.topic, NEW.first) ON CONFLICT DO NOTHING;
    INSERT INTO state VALUES (NEW.key, NEW.value) ON CONFLICT (key) DO UPDATE SET value = excluded.value;
END;
