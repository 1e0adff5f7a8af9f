-- Foreign keys and indexes of the operations tables, after their rows: one pass instead of a check per row.

ALTER TABLE public.payments
    ADD CONSTRAINT payments_customer_fk FOREIGN KEY (customer_id) REFERENCES public.customers,
    ADD CONSTRAINT payments_store_fk FOREIGN KEY (store_id) REFERENCES public.stores;
ALTER TABLE public.shipments
    ADD CONSTRAINT shipments_store_fk FOREIGN KEY (store_id) REFERENCES public.stores;

CREATE INDEX payments_customer ON public.payments (customer_id);
CREATE INDEX payments_order ON public.payments (order_id);
CREATE INDEX event_log_logged_at ON public.event_log (logged_at);
