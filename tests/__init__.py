"""Tests: each is named after the promise that it protects."""
