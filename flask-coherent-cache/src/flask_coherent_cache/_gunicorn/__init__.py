"""A worker for gunicorn whose loop answers pages of the near cache."""
