"""The rate at which a camera may send: the estimate, its inputs, and the plan that the page follows."""
