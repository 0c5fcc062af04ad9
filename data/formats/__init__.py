"""Files of radiographs, one format a file; `data.radiograph` chooses among them."""
