[[ template "further_class" (list . 5) ]]
