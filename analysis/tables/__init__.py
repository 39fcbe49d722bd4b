"""From aligned answers to tables; docs/columns.md says what each column means."""
