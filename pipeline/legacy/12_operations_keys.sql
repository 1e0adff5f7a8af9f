-- Foreign keys and indexes of the operations tables, after their rows: one pass instead of a check per row.

ALTER TABLE payments
    ADD CONSTRAINT payments_customer_fk FOREIGN KEY (customer_id) REFERENCES customers,
    ADD CONSTRAINT payments_store_fk FOREIGN KEY (store_id) REFERENCES stores;
ALTER TABLE shipments
    ADD CONSTRAINT shipments_store_fk FOREIGN KEY (store_id) REFERENCES stores;

CREATE INDEX payments_customer ON payments (customer_id);
CREATE INDEX payments_order ON payments (order_id);
CREATE INDEX event_log_logged_at ON event_log (logged_at);
